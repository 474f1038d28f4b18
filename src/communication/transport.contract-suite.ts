/** What every transport promises. `address` leaves the choice of port or name to the system. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Connection, isRefusal, type Listener, type Transport } from './transport.ts';

function closed(end: Connection): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  end.onClose = () => resolve();
  return promise;
}

export function transportSuite(name: string, open: () => { transport: Transport; address: string }): void {
  const pair = async (): Promise<{ near: Connection; far: Connection; listener: Listener; transport: Transport }> => {
    const { transport, address } = open();
    const { promise, resolve } = Promise.withResolvers<Connection>();
    const listener = await transport.listen(address, resolve);
    const near = transport.connect(listener.address);
    return { near, far: await promise, listener, transport };
  };

  describe(`transport ${name}`, () => {
    it('refuses by an error on close when nobody listens', async () => {
      const { transport, address } = open();
      const listener = await transport.listen(address, () => {});
      await listener.close();
      const { promise, resolve } = Promise.withResolvers<Error | undefined>();
      transport.connect(listener.address).onClose = resolve;
      assert.ok(isRefusal(await promise));
    });

    it('refuses an address that is taken', async () => {
      const { transport, address } = open();
      const listener = await transport.listen(address, () => {});
      await assert.rejects(
        transport.listen(listener.address, () => {}),
        { code: 'CONFIG' },
      );
      await listener.close();
    });

    it('tells both ends when one destroys', async () => {
      const { near, far, listener } = await pair();
      const gone = Promise.all([near, far].map(closed));
      near.destroy();
      await gone;
      await listener.close();
    });

    it('carries bytes in order both ways and delivers what was written before end', async () => {
      const { near, far, listener } = await pair();
      const read = (end: Connection): Promise<string> => {
        let text = '';
        end.onData = bytes => {
          text += Buffer.from(bytes).toString();
        };
        return closed(end).then(() => text);
      };
      const nearText = read(near);
      const farText = read(far);
      far.write(Buffer.from('back'));
      await new Promise(resolve => setImmediate(resolve));
      for (let i = 0; i < 100; i++) near.write(Buffer.from(`${i},`));
      near.end();
      assert.equal(await farText, `${Array.from({ length: 100 }, (_, i) => `${i},`).join('')}`);
      assert.ok('back'.startsWith(await nearText));
      await listener.close();
    });

    it('says false when too much waits, and drains once the reader resumes', async () => {
      const { near, far, listener } = await pair();
      far.pause();
      const chunk = Buffer.alloc(262_144);
      let written = 0;
      while (written < 512 && near.write(chunk)) written++;
      assert.ok(written < 512, 'write never said false');
      const { promise: drained, resolve } = Promise.withResolvers<void>();
      near.onDrain = resolve;
      far.resume();
      await drained;
      near.destroy();
      await listener.close();
    });
  });
}
