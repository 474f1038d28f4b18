// Who gets a call: a service says it in one line, or in a few. Switch it while it runs: tandem balance desk round-robin
import { contract } from 'tandem';
import * as z from 'zod';

export const desk = contract('desk', {
  serve: { http: 'POST /desk/:customer', input: z.object({ customer: z.string() }), output: z.string() },
});

export default desk.implement({
  /** Opens in the morning; a test says when that is. */
  resources: () => ({ opened: Promise.resolve() }),
  balance: {
    strategy: 'least-connections',
    // Each clerk serves two at a time; two more may wait in line, and who comes then is told to come back.
    inflightMax: 2,
    queueMax: 2,
    // When one clerk has become three times as slow as the mean, go by that instead.
    rules: [{ when: { latencySpread: 3 }, strategy: 'least-response-time' }],
  },
  methods: {
    serve: async ({ customer }, ctx) => {
      await ctx.resources.opened;
      return `${customer} at ${ctx.instance}`;
    },
  },
});
