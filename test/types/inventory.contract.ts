import { contract, error, stream, topic } from 'tandem';
import * as z from 'zod';

const Stock = z.object({ onHand: z.int(), reserved: z.int() });
const Line = z.object({ sku: z.string(), qty: z.int().positive() });
export const orderPlaced = topic('order.placed', Line.extend({ orderId: z.string() }), { key: 'sku' });
export const inventory = contract('inventory', {
  get: {
    http: 'GET /stock/:sku',
    input: z.object({ sku: z.string() }),
    output: Stock.nullable(),
    key: 'sku',
    consistency: 'eventual',
  },
  reserve: {
    http: 'POST /stock/:sku/reserve',
    input: Line,
    output: Stock,
    key: 'sku',
    errors: { outOfStock: error(409, z.object({ left: z.int() })), unknownSku: error(404) },
  },
  watch: { http: 'GET /stock/:sku/live', input: z.object({ sku: z.string() }), output: stream(Stock), key: 'sku' },
  load: { input: stream(Line), output: z.int() },
  ping: { output: z.literal('pong') },
});
