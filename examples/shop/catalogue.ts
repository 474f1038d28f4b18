// Products. Reads are eventual, so every replica answers from its own copy; the page adds recommendations if it can.
import { table } from 'tandem';
import { catalogue, Product, recommendations } from './contracts.ts';

export default catalogue.implement({
  tables: { products: table(Product) },
  partitions: 8,
  methods: {
    get: async ({ sku }, ctx) => (await ctx.tables.products.get(sku)) ?? null,
    put: (product, ctx) =>
      ctx.transact(tx => {
        tx.products.put(product.sku, product);
        return product;
      }),
    page: async ({ sku }, ctx) => {
      const product = await ctx.tables.products.get(sku);
      if (!product) throw ctx.fail.unknownSku();
      const answer = await ctx.try(recommendations).boughtWith({ sku }, { timeout: '300ms', fallback: () => [] });
      const recommended = answer.ok ? answer.value : [];
      return { product, recommended, degraded: !answer.ok || answer.meta.degraded };
    },
  },
});
