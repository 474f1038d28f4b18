/** The bus on core NATS: subjects below the app's own, nothing stored. */
import type { Bus } from './engine.ts';
import type { NatsLink } from './nats-connection.ts';

export function natsBus(link: NatsLink): Bus {
  const root = `${link.address.app}.bus.`;
  return {
    publish(subject, body) {
      // What is given to a disconnected client would arrive late, and beats of the past are worse than none.
      if (link.connected) link.connection.publish(root + subject, body);
    },
    subscribe(subject, receive) {
      const subscription = link.connection.subscribe(root + subject, {
        callback: (error, message) => {
          if (!error) receive(message.subject.slice(root.length), message.data);
        },
      });
      return () => subscription.unsubscribe();
    },
    get connected() {
      return link.connected;
    },
    onConnection: listener => link.onConnection(listener),
  };
}
