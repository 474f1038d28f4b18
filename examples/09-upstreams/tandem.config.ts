// What stands in front of two plain HTTP servers: tandem gateway (or tandem up, beside services).
import { defineConfig } from 'tandem';

export default defineConfig({
  gateway: {
    upstreams: [
      {
        targets: ['http://127.0.0.1:3001', { url: 'http://127.0.0.1:3002', weight: 2 }],
        balance: 'weighted-round-robin',
        health: { path: '/health', interval: '1s' },
      },
    ],
  },
});
