/** Figures as people read them: few digits, a unit, and a dash where nothing is known. */
export const unknown = '–';

export function count(value) {
  if (value === null || value === undefined) return unknown;
  if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(value >= 1e5 ? 0 : 1)} k`;
  if (value >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return value >= 10 ? value.toFixed(0) : value.toFixed(1);
}

export function ms(value) {
  if (value === null || value === undefined) return unknown;
  if (value < 0.95) return `${value.toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 1000) return `${Math.round(value)} ms`;
  return `${(value / 1000).toFixed(value < 10_000 ? 1 : 0)} s`;
}

export function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d`;
}

export function bytes(value) {
  if (!value) return unknown;
  return value >= 1e9 ? `${(value / 1e9).toFixed(1)} GB` : `${Math.round(value / 1e6)} MB`;
}

export function percent(share) {
  if (share === null || share === undefined) return unknown;
  const value = share * 100;
  if (value === 0) return '0 %';
  if (value < 0.01) return '< 0.01 %';
  return `${value < 1 ? value.toFixed(2) : value < 10 ? value.toFixed(1) : value.toFixed(0)} %`;
}

/** A share close to one: as many digits as it takes to see what is missing, never rounded up to 100. */
export function availability(reading) {
  if (!reading || reading.share === undefined || reading.share === null) return unknown;
  if (reading.failed === 0) return '100 %';
  const digits = Math.min(6, Math.max(1, Math.ceil(-Math.log10(1 - reading.share)) - 1));
  const scale = 10 ** digits;
  return `${(Math.floor(reading.share * 100 * scale) / scale).toFixed(digits)} %`;
}

export function nines(reading) {
  if (!reading || reading.nines === undefined || reading.nines === null) return unknown;
  return `${reading.atLeast ? '≥ ' : ''}${(Math.floor(reading.nines * 10) / 10).toFixed(1)}`;
}

export const time = at => new Date(at).toLocaleTimeString([], { hourCycle: 'h23' });
export const plural = (amount, one, many = `${one}s`) => `${count(amount)} ${amount === 1 ? one : many}`;
