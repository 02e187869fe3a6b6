/**
 * The environment of a process that is to know nothing of ours: only where programs are, and what of
 * them is compiled already.
 */

export const BARE_ENV: NodeJS.ProcessEnv = {
  PATH: process.env['PATH'],
  NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
};
