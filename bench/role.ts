/** One role of an app in a process of its own, as `tandem up` runs it: settings come by message, the address goes back. */
import { type RoleName, type RoleSettings, runRole } from '../src/app/roles.ts';

process.once('message', async message => {
  const { role, settings } = message as { role: RoleName; settings: RoleSettings };
  const running = await runRole(role, settings);
  process.on('SIGTERM', () => void running.close(500).then(() => process.exit(0)));
  process.send!(running.info);
});
process.on('disconnect', () => process.exit(0));
