/**
 * Loaded into the process of a test file that computes: it takes the processor only where those that
 * measure real time leave it.
 */

import { setPriority } from 'node:os';

const GENTLE = 5;

setPriority(GENTLE);
