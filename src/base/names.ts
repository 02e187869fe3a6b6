/**
 * Names that operators give: regions, nodes, targets, models. Parsed once, at the edge.
 * A region or node name is a DNS label; a target or model name may carry `/ . : @ _ -` as the
 * names of models do (`deepseek/deepseek-chat`, `Qwen/Qwen3-32B`).
 */

import type { Brand } from './brand.ts';
import { err, ok, type Result } from './result.ts';

/** The name of one failure domain, e.g. `eu-central-1`. */
export type RegionName = Brand<string, 'RegionName'>;
/** The name of one target inside a region, e.g. `llama-a`. */
export type TargetName = Brand<string, 'TargetName'>;
/** The name that a client asks for, e.g. `banyan-support`. */
export type ModelName = Brand<string, 'ModelName'>;

/** A DNS label: regions, nodes, targets. Exported for the published schema. */
export const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** Names of models. */
export const FREE_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9/._:@+-]{0,126}[A-Za-z0-9])?$/;

/** Parses a region name: a DNS label of 1 to 63 lower-case letters, digits and inner hyphens. */
export function parseRegionName(text: string): Result<RegionName, 'malformed-region-name'> {
  return LABEL.test(text) ? ok(text as RegionName) : err('malformed-region-name');
}

/** Parses a target name: 1 to 63 characters, a DNS label. */
export function parseTargetName(text: string): Result<TargetName, 'malformed-target-name'> {
  return LABEL.test(text) ? ok(text as TargetName) : err('malformed-target-name');
}

/** Parses a model name: 1 to 128 characters of letters, digits and inner `/ . _ : @ + -`. */
export function parseModelName(text: string): Result<ModelName, 'malformed-model-name'> {
  return FREE_NAME.test(text) ? ok(text as ModelName) : err('malformed-model-name');
}
