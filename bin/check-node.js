// Runs before the project's own scripts, in syntax that any Node can read: says what to do when Node 24 is not here.
const major = Number(process.versions.node.split('.')[0]);
if (major < 24) {
  process.stderr.write(
    `This project runs on Node 24, which \`npm ci\` brings along as the package 'node'; this is Node ${process.versions.node}.\n` +
      'Its install script was blocked or did not run. Allow it (npm install-scripts approve node) and run `npm ci` again,\n' +
      'or put Node 24 or newer on the PATH.\n',
  );
  process.exit(1);
}
