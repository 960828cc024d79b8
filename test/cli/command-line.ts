// The command line as a server, for `CommandLine`: runs what its parent sends, and sends back what it said.
import { main } from '../../src/cli/main.js';
import { setLinePrinter } from '../../src/logger.js';

type Stream = 'stdout' | 'stderr';
let said: Record<Stream, string>;
for (const stream of ['stdout', 'stderr'] as const) {
  process[stream].write = (text: string | Uint8Array): boolean => {
    said[stream] += text;
    return true;
  };
}

process.on('message', async (args: string[]) => {
  said = { stdout: '', stderr: '' };
  const code = await main(args);
  setLinePrinter(null);
  process.send!({ code, ...said });
});
