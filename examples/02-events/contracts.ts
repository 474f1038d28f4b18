// What the two services say to each other: one event, and the letters that come of events nobody could handle.
import { contract, topic } from 'tandem';
import * as z from 'zod';

const Order = z.object({ orderId: z.string(), email: z.string() });

/** Events of one order stay in order: `orderId` is the key. Kept for 30 days, and at most 1 GB of each partition. */
export const orderPlaced = topic('orders.placed', Order, {
  key: 'orderId',
  partitions: 4,
  retention: { age: '30d', bytes: 1_000_000_000 },
});

/** What `mailer.confirm` gave up on. A dead-letter topic is a topic like any other, with as many partitions as its origin. */
export const mailsDead = topic(
  'dead.mailer.confirm',
  z.object({ key: z.string(), attempts: z.number(), error: z.object({ code: z.string(), message: z.string() }) }),
  { key: 'key', partitions: 4 },
);

export const orders = contract('orders', {
  place: { key: 'orderId', http: 'POST /orders', input: Order },
});

export const mailer = contract('mailer', {
  sent: {
    key: 'orderId',
    http: 'GET /mails/:orderId',
    consistency: 'sequential',
    input: z.object({ orderId: z.string() }),
    output: z.object({ times: z.number(), failure: z.string().nullable() }),
  },
});
