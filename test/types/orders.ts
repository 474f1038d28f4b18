import { inventory } from './inventory.contract.ts';
import { orders } from './orders.contract.ts';
export default orders.implement({
  methods: {
    place: async ({ sku, qty }, ctx) => {
      const r = await ctx.try(inventory).reserve({ sku, qty });
      if (!r.ok && r.error.code === 'outOfStock') {
        const left: number = r.error.data.left;
        return { id: `none${left}` };
      }
      const self = await ctx.call(orders).get({ id: '1' });
      for await (const s of ctx.call(inventory).watch({ sku })) {
        const n: number = s.onHand;
        void n;
        break;
      }
      return { id: self.state };
    },
    get: ({ id }) => ({ state: id === '1' ? 'placed' : 'paid' }),
  },
});
