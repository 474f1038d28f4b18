import { defineConfig } from 'tandem';

export default defineConfig({
  gateway: {
    cors: { origins: ['https://shop.example'], credentials: true },
    accessRecords: 'all',
  },
});
