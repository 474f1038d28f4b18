import { createClient } from 'tandem/client';
import type { inventory } from './sketch.contract.ts';

const api = createClient({ url: 'http://localhost:3000' });
const stock = await api.call<typeof inventory>('inventory').get({ sku: '85123A' });
const onHand: number | undefined = stock?.onHand;
void onHand;
export async function tr(c: typeof inventory): Promise<number> {
  const answer = await api.try(c).reserve({ sku: '85123A', qty: 2, orderId: 'o-1' });
  if (answer.ok) return answer.value.onHand;
  if (answer.error.code === 'outOfStock') return answer.error.data.left;
  throw new Error(answer.error.code);
}
