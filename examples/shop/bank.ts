// The simulated bank. Deterministic per order, so that a repeat after a crash gets the same answer from another process.
import { setTimeout as wait } from 'node:timers/promises';

export interface Bank {
  /** False when the bank refuses. */
  charge(orderId: string, amountCents: number): Promise<boolean>;
  refund(orderId: string, amountCents: number): Promise<void>;
}

export function openBank(): Bank {
  return {
    charge: async (orderId, _amountCents) => {
      const roll = rollOf(orderId);
      await wait(10 + (roll % 71));
      return roll % 50 !== 0;
    },
    refund: async orderId => {
      await wait(10 + (rollOf(orderId) % 71));
    },
  };
}

/** FNV-1a of the order id: the same dice for everyone who asks. */
export function rollOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
