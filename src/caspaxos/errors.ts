/**
 * Every way in which the core refuses or loses a request. *Definite*: it certainly did not and will
 * not take effect, so that asking again is safe. *Indefinite*: it may have, or may yet; asking again
 * with the same request id (`isRetry`) finds out. After Maelstrom's table of errors.
 */

interface CasErrorEntry {
  readonly definite: boolean;
  readonly sentence: string;
}

function definite(sentence: string): CasErrorEntry {
  return { definite: true, sentence };
}

function indefinite(sentence: string): CasErrorEntry {
  return { definite: false, sentence };
}

/** Codes are stable: hosts and clients may match on them. */
export const CAS_ERRORS = {
  'no-proposer': definite('This node has not been granted a proposer id by the log yet.'),
  'no-control': definite('This node does not know the acceptors yet.'),
  'bad-request': definite('The key, the request id or the version is malformed.'),
  'too-large': definite('The value is larger than a register may be.'),
  'too-many': definite('Too many requests are under way at this node.'),
  'bucket-closed': definite('The bucket of this key is closed for ever.'),
  'bucket-not-open': definite('The bucket of this key is not open yet.'),
  'bucket-full': definite('The acceptors keep as many keys as they may.'),
  'no-quorum': definite('No quorum of acceptors answered in time; nothing was proposed.'),
  contended: definite('Other proposers were always faster; nothing was proposed.'),
  'behind-control': definite('The acceptors know a newer configuration than this node.'),
  'disk-failed': definite('The disk of this node failed; it takes part in nothing any more.'),
  'outcome-unknown': indefinite('The change may have taken effect, or may yet.'),
  'not-joint': definite('Only a joint configuration is rescanned.'),
  'rescan-lost': definite('The rescan did not reach every key; begin it again.'),
} as const satisfies Readonly<Record<string, CasErrorEntry>>;

export type CasErrorCode = keyof typeof CAS_ERRORS;
