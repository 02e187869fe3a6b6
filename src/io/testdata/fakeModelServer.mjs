/** A child for tests: `/health` on the port of argv[2], `/crash` ends it; ends with its input. */
import { createServer } from 'node:http';

const server = createServer((request, response) => {
  if (request.url === '/crash') process.exit(7);
  response.end('ok');
});
server.listen(Number(process.argv[2]), '127.0.0.1');
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
