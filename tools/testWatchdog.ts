/**
 * Loaded into the process of each test file: one that is still there after the limit ends, and says what
 * it waits for. The runner's own limit is of single tests; what a file leaves open it waits for without end.
 */

const FILE_MS = 480_000;

if (process.env['NODE_TEST_CONTEXT'] !== undefined) {
  setTimeout(() => {
    const open = process.getActiveResourcesInfo().join(' ');
    console.error(`test: ${process.argv[1]} did not end within ${FILE_MS / 1000} s; open: ${open}`);
    process.exit(1);
  }, FILE_MS).unref();
}
