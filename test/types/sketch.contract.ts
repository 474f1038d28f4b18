// inventory.contract.ts : what others may know. Data only, safe in a browser.
import { contract, error, stream, topic } from 'tandem';
import * as z from 'zod';

const Sku = z.object({ sku: z.string() });
const Line = Sku.extend({ qty: z.int().positive() });
const Stock = z.object({ onHand: z.int(), reserved: z.int() });

export const reserved = topic('inventory.reserved', Line.extend({ orderId: z.string() }), { key: 'sku' });

export const inventory = contract('inventory', {
  get: { http: 'GET /stock/:sku', key: 'sku', consistency: 'eventual', input: Sku, output: Stock.nullable() },
  reserve: {
    http: 'POST /stock/:sku/reserve',
    key: 'sku',
    timeout: '500ms',
    input: Line.extend({ orderId: z.string() }),
    output: Stock,
    errors: { unknownSku: error(404), outOfStock: error(409, z.object({ left: z.int() })) },
  },
  live: { http: 'GET /stock/:sku/live', key: 'sku', input: Sku, output: stream(Stock) },
});
