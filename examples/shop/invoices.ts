// Reads the real invoices, dirt included, into what a shop can take. Nothing is silently dropped: what cannot be an
// order line is returned as rejected, with the reason.
import { readFileSync } from 'node:fs';

export interface Invoice {
  readonly number: string;
  /** A cancellation in the data (its number begins with C): goods that come back. */
  readonly isReturn: boolean;
  /** Null for guests: the data has orders without a customer. */
  readonly customer: string | null;
  readonly country: string;
  /** Quantities are positive, for returns too. */
  readonly lines: readonly {
    readonly sku: string;
    readonly description: string;
    readonly qty: number;
    readonly priceCents: number;
  }[];
  readonly rejected: readonly { readonly line: number; readonly reason: string }[];
}

export function readInvoices(path: URL = new URL('data/online-retail.csv', import.meta.url)): Invoice[] {
  const invoices = new Map<
    string,
    Invoice & { lines: Invoice['lines'][number][]; rejected: Invoice['rejected'][number][] }
  >();
  const rows = parseCsv(readFileSync(path, 'utf8'));
  rows.slice(1).forEach((row, index) => {
    const [number = '', sku = '', description = '', quantity = '', , price = '', customer = '', country = ''] = row;
    const isReturn = number.startsWith('C');
    let invoice = invoices.get(number);
    if (!invoice) {
      invoice = {
        number,
        isReturn,
        customer: customer.trim() || null,
        country: country.trim(),
        lines: [],
        rejected: [],
      };
      invoices.set(number, invoice);
    }
    const qty = isReturn ? -Number(quantity) : Number(quantity);
    const priceCents = Math.round(Number(price) * 100);
    const reason = !sku
      ? 'no stock code'
      : !(Number.isInteger(qty) && qty > 0)
        ? `quantity ${quantity}`
        : !(priceCents >= 0)
          ? `price ${price}`
          : undefined;
    if (reason) invoice.rejected.push({ line: index + 2, reason });
    else invoice.lines.push({ sku: sku.trim().toUpperCase(), description: description.trim(), qty, priceCents });
  });
  return [...invoices.values()];
}

/** RFC 4180: quoted fields may hold commas, line breaks and doubled quotes. */
export function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let field = '';
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (quoted) {
      if (char !== '"') field += char;
      else if (text[i + 1] === '"') field += text[++i];
      else quoted = false;
    } else if (char === '"') quoted = true;
    else if (char === ',') {
      row.push(field);
      field = '';
    } else if (char === '\n') {
      row.push(field.replace(/\r$/, ''));
      if (row.length > 1 || row[0] !== '') rows.push(row);
      row = [];
      field = '';
    } else field += char;
  }
  if (field !== '' || row.length > 0) rows.push([...row, field]);
  return rows;
}
