import { contract } from 'tandem';
import * as z from 'zod';
export const orders = contract('orders', {
  place: { input: z.object({ sku: z.string(), qty: z.int() }), output: z.object({ id: z.string() }) },
  get: { input: z.object({ id: z.string() }), output: z.object({ state: z.enum(['placed', 'paid']) }), key: 'id' },
});
