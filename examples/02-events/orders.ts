// Takes orders. The row and the event are one commit: there is never one without the other.
import { table } from 'tandem';
import * as z from 'zod';
import { orderPlaced, orders } from './contracts.ts';

export default orders.implement({
  tables: { orders: table(z.object({ email: z.string() })) },
  partitions: 4,
  publishes: [orderPlaced],
  methods: {
    place: ({ orderId, email }, ctx) =>
      ctx.transact(tx => {
        if (tx.orders.get(orderId)) return;
        tx.orders.put(orderId, { email });
        tx.emit(orderPlaced, { orderId, email });
      }),
  },
});
