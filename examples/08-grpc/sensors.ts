/**
 * Sensors that speak gRPC: all four kinds of calls from one contract. `tandem gen proto examples/08-grpc/sensors.ts --out examples/08-grpc`
 * made `sensors.proto` and the field numbers in `tandem.lock.json`; `client.py` knows nothing else of this app.
 */
import { contract, error, stream, table } from 'tandem';
import * as z from 'zod';

const Reading = z.object({ sensor: z.string(), celsius: z.number() }).meta({ id: 'Reading' });
const Which = z.object({ sensor: z.string() });

export const sensors = contract('sensors', {
  /** One message in, one out. */
  put: {
    public: true,
    key: 'sensor',
    input: Reading,
    output: z.object({ count: z.int() }),
    errors: { tooHot: error(409, z.object({ limit: z.number() })) },
  },
  latest: { public: true, key: 'sensor', consistency: 'sequential', input: Which, output: Reading.nullable() },
  /** Many out: each change, as it is committed. */
  watch: { public: true, key: 'sensor', input: Which, output: stream(Reading) },
  /** Many in. */
  report: {
    public: true,
    input: stream(Reading),
    output: z.object({ taken: z.int(), hottest: z.number().nullable() }),
  },
  /** Many in and many out, each answered while the next is on its way: the mean so far. */
  smooth: { public: true, input: stream(Reading), output: stream(Reading) },
  /** Takes its time; for clients that do not have any. */
  calibrate: { public: true, input: z.object({ seconds: z.number() }), output: z.object({ done: z.boolean() }) },
});

const limit = 100;

export default sensors.implement({
  tables: { readings: table(z.object({ sensor: z.string(), celsius: z.number(), count: z.int() })) },
  partitions: 4,
  methods: {
    put: ({ sensor, celsius }, ctx) =>
      ctx.transact(tx => {
        if (celsius > limit) throw ctx.fail.tooHot({ limit });
        const count = (tx.readings.get(sensor)?.count ?? 0) + 1;
        tx.readings.put(sensor, { sensor, celsius, count });
        return { count };
      }),
    latest: async ({ sensor }, ctx) => (await ctx.tables.readings.get(sensor)) ?? null,
    watch: ({ sensor }, ctx) => ctx.tables.readings.watch(sensor),
    report: async (readings, ctx) => {
      let taken = 0;
      let hottest: number | null = null;
      for await (const reading of readings) {
        await ctx.call(sensors).put(reading);
        taken++;
        hottest = Math.max(hottest ?? reading.celsius, reading.celsius);
      }
      return { taken, hottest };
    },
    smooth: async function* (readings) {
      let sum = 0;
      let count = 0;
      for await (const { sensor, celsius } of readings) {
        sum += celsius;
        yield { sensor, celsius: sum / ++count };
      }
    },
    calibrate: async ({ seconds }, ctx) => {
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, seconds * 1000);
        ctx.signal.addEventListener('abort', () => {
          clearTimeout(timer);
          ctx.logger.info('calibration was given up');
          resolve();
        });
      });
      return { done: true };
    },
  },
});
