// A whole app: one service, one method, reachable at GET /hello/:name.
import { contract } from 'tandem';
import * as z from 'zod';

export const hello = contract('hello', {
  greet: { http: 'GET /hello/:name', input: z.object({ name: z.string() }), output: z.string() },
});

export default hello.implement({
  methods: { greet: ({ name }) => `Hello, ${name}!` },
});
