#!/usr/bin/env node
/** The `banyan` command for a checkout: installs what is missing, then runs the CLI. */
import { main } from '../tools/bootstrap.mjs';

main('banyan', process.argv.slice(2));
