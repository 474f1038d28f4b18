// What was bought together with a product, counted over the invoices of the data set. Optional: the shop works without.
import { recommendations } from './contracts.ts';
import { readInvoices } from './invoices.ts';

export default recommendations.implement({
  resources: () => {
    const together = new Map<string, Map<string, number>>();
    for (const { lines } of readInvoices()) {
      for (const { sku } of lines) {
        const counts = together.get(sku) ?? new Map<string, number>();
        together.set(sku, counts);
        for (const other of lines) if (other.sku !== sku) counts.set(other.sku, (counts.get(other.sku) ?? 0) + 1);
      }
    }
    return { together };
  },
  methods: {
    boughtWith: ({ sku }, ctx) =>
      [...(ctx.resources.together.get(sku) ?? [])]
        .sort(([a, timesA], [b, timesB]) => timesB - timesA || a.localeCompare(b))
        .slice(0, 4)
        .map(([other]) => other),
  },
});
