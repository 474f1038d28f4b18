// What the services of the shop may know of each other. Data only: a browser may import it.
import { contract, error, stream, topic } from 'tandem';
import * as z from 'zod';

const Sku = z.object({ sku: z.string() });
const OrderId = z.object({ orderId: z.string() });
export const Line = z.object({ sku: z.string(), qty: z.int().positive(), priceCents: z.int() });
export type Line = z.infer<typeof Line>;

/* ---- catalogue: what is sold. Read far more often than written, so any replica answers at once. */
export const Product = z.object({
  sku: z.string(),
  description: z.string(),
  priceCents: z.int(),
  stocked: z.boolean(),
});
export const catalogue = contract('catalogue', {
  get: { http: 'GET /catalogue/:sku', key: 'sku', consistency: 'eventual', input: Sku, output: Product.nullable() },
  put: { key: 'sku', public: true, input: Product, output: Product },
  // The product page. Recommendations are nice to have: when they are away the page says so and works on.
  page: {
    http: 'GET /catalogue/:sku/page',
    key: 'sku',
    consistency: 'eventual',
    input: Sku,
    output: z.object({ product: Product, recommended: z.array(z.string()), degraded: z.boolean() }),
    errors: { unknownSku: error(404) },
  },
});

/* ---- recommendations: optional by design. */
export const recommendations = contract('recommendations', {
  boughtWith: {
    http: 'GET /recommendations/:sku',
    input: Sku,
    output: z.array(z.string()),
    priority: 'optional',
    timeout: '300ms',
    idempotent: true,
  },
});

/* ---- inventory: every unit is somewhere: initial = onHand + reserved + sold - returned. */
export const Stock = z.object({
  initial: z.int(),
  onHand: z.int(),
  reserved: z.int(),
  sold: z.int(),
  returned: z.int(),
});
const Movement = z.object({ sku: z.string(), orderId: z.string(), qty: z.int().positive() });
export const inventory = contract('inventory', {
  get: { http: 'GET /stock/:sku', key: 'sku', consistency: 'sequential', input: Sku, output: Stock.nullable() },
  live: { http: 'GET /stock/:sku/live', key: 'sku', consistency: 'sequential', input: Sku, output: stream(Stock) },
  open: { key: 'sku', public: true, input: z.object({ sku: z.string(), initial: z.int() }), output: Stock },
  reserve: {
    http: 'POST /stock/:sku/reserve',
    key: 'sku',
    input: Movement,
    output: Stock,
    errors: { unknownSku: error(404), outOfStock: error(409, z.object({ left: z.int() })) },
  },
  release: { key: 'sku', input: Movement, output: Stock, errors: { unknownSku: error(404) } },
  sell: { key: 'sku', input: Movement, output: Stock, errors: { unknownSku: error(404) } },
  takeBack: { key: 'sku', input: Movement, output: Stock, errors: { unknownSku: error(404) } },
});

/* ---- payments: a simulated bank that is slow and sometimes refuses. */
export const Payment = z.object({
  orderId: z.string(),
  amountCents: z.int(),
  state: z.enum(['charged', 'refused', 'refunded']),
});
export const payments = contract('payments', {
  charge: {
    key: 'orderId',
    timeout: '3s',
    input: z.object({ orderId: z.string(), amountCents: z.int() }),
    output: Payment,
    errors: { refused: error(402) },
  },
  refund: { key: 'orderId', input: z.object({ orderId: z.string(), amountCents: z.int() }), output: Payment },
  get: {
    http: 'GET /payments/:orderId',
    key: 'orderId',
    consistency: 'sequential',
    input: OrderId,
    output: Payment.nullable(),
  },
});

/* ---- orders: placed → paid → shipped, or cancelled; a return is an order of its own: accepted → returned. */
export const OrderState = z.enum(['placed', 'paid', 'shipped', 'cancelled', 'accepted', 'returned']);
export const Order = z.object({
  orderId: z.string(),
  customer: z.string().nullable(),
  country: z.string(),
  lines: z.array(Line),
  amountCents: z.int(),
  state: OrderState,
  reason: z.string().nullable(),
});
export type Order = z.infer<typeof Order>;
const NewOrder = z.object({
  orderId: z.string().min(1).max(80),
  customer: z.string().nullable(),
  country: z.string(),
  lines: z.array(Line).min(1).max(500),
});
export const orders = contract('orders', {
  place: {
    http: 'POST /orders',
    key: 'orderId',
    input: NewOrder,
    output: Order,
    errors: { alreadyPlaced: error(409) },
  },
  giveBack: {
    http: 'POST /returns',
    key: 'orderId',
    input: NewOrder,
    output: Order,
    errors: { alreadyPlaced: error(409) },
  },
  get: {
    http: 'GET /orders/:orderId',
    key: 'orderId',
    consistency: 'sequential',
    input: OrderId,
    output: Order.nullable(),
  },
});
const OrderEvent = z.object({
  orderId: z.string(),
  country: z.string(),
  customer: z.string().nullable(),
  amountCents: z.int(),
});
export const orderPlaced = topic('order.placed', OrderEvent, { key: 'orderId' });
export const orderPaid = topic('order.paid', OrderEvent, { key: 'orderId' });
export const orderShipped = topic('order.shipped', OrderEvent, { key: 'orderId' });
export const orderCancelled = topic('order.cancelled', OrderEvent.extend({ reason: z.string() }), { key: 'orderId' });
export const returnAccepted = topic('return.accepted', OrderEvent, { key: 'orderId' });
export const orderReturned = topic('order.returned', OrderEvent, { key: 'orderId' });

/* ---- notifications: tells the customer, with retries and a dead letter for addresses that never work. */
export const Mail = z.object({ orderId: z.string(), what: z.enum(['shipped', 'cancelled']), times: z.int() });
export type Mail = z.infer<typeof Mail>;
export const notifications = contract('notifications', {
  get: {
    http: 'GET /notifications/:orderId',
    key: 'orderId',
    consistency: 'sequential',
    input: OrderId,
    output: Mail.nullable(),
  },
});

/* ---- revenue: a view by country, made of events alone. */
export const Revenue = z.object({
  country: z.string(),
  orders: z.int(),
  cents: z.int(),
  returns: z.int(),
  returnedCents: z.int(),
});
export const revenue = contract('revenue', {
  byCountry: {
    http: 'GET /revenue/:country',
    key: 'country',
    consistency: 'sequential',
    input: z.object({ country: z.string() }),
    output: Revenue.nullable(),
  },
});
