/** What an operator should know of the control group: codes, values, and the sentences for them. */

import type { Finding } from '../../replica/control/outlook.ts';
import { FEATURE_LEVEL_MAX } from '../../replica/control/features.ts';
import { text, type Language, type MessageKey } from '../messages.ts';
import { renderDuration } from '../output.ts';
import type { FindingRow } from './opsRoutes.ts';
import type { Surveyed } from './survey.ts';

type Code =
  | Finding['code']
  | 'no-group'
  | 'failed'
  | 'other-cluster'
  | 'mixed-versions'
  | 'held-back'
  | 'own-knowledge';

/** Null: there is nothing to do. */
const SENTENCES: Readonly<
  Record<Code, { readonly message: MessageKey; readonly todo: MessageKey | null }>
> = {
  'no-group': { message: 'finding.noGroup', todo: 'todo.noGroup' },
  failed: { message: 'finding.failed', todo: null },
  'no-quorum': { message: 'finding.noQuorum', todo: 'todo.noQuorum' },
  'own-knowledge': { message: 'finding.ownKnowledge', todo: null },
  'other-cluster': { message: 'finding.otherCluster', todo: 'todo.otherCluster' },
  'no-leader': { message: 'finding.noLeader', todo: 'todo.noLeader' },
  'region-needed': { message: 'finding.regionNeeded', todo: null },
  absent: { message: 'finding.absent', todo: 'todo.absent' },
  behind: { message: 'finding.behind', todo: 'todo.behind' },
  disk: { message: 'finding.disk', todo: 'todo.disk' },
  'stand-in': { message: 'finding.standIn', todo: 'todo.standIn' },
  learner: { message: 'finding.learner', todo: 'todo.learner' },
  'few-voters': { message: 'finding.fewVoters', todo: 'todo.fewVoters' },
  'even-voters': { message: 'finding.evenVoters', todo: 'todo.evenVoters' },
  changing: { message: 'finding.changing', todo: null },
  'held-back': { message: 'finding.heldBack', todo: 'todo.heldBack' },
  'mixed-versions': { message: 'finding.mixedVersions', todo: 'todo.mixedVersions' },
};

/** All that a survey found, in English, as the API answers. */
export function findingRows(surveyed: Surveyed): readonly FindingRow[] {
  const { state, outlook, strangers, leaderSeenMsAgo, versions } = surveyed;
  const rows: FindingRow[] = [];
  const add = (code: Code, values: FindingRow['values'] = {}): void => {
    rows.push({ code, values, ...sentencesOf('en', code, values) });
  };
  if (state.kind === 'failed') add('failed', { detail: state.detail });
  else if (outlook === null) {
    add('no-group', { detail: 'detail' in state ? state.detail : state.kind });
  }
  for (const finding of outlook?.findings ?? []) {
    const { code, ...values } = finding;
    if (finding.code === 'no-quorum') add(code, { absent: finding.absent.join(', ') });
    else add(code, values as FindingRow['values']);
  }
  if (outlook?.leader === 0) {
    add('own-knowledge', { ago: leaderSeenMsAgo === null ? '?' : renderDuration(leaderSeenMsAgo) });
  }
  for (const { name, cluster } of strangers) {
    add('other-cluster', { region: name, cluster, own: surveyed.cluster ?? '' });
  }
  const programs = new Set(versions.values());
  if (programs.size > 1) add('mixed-versions', { versions: [...programs].toSorted().join(', ') });
  const { level, heldBackBy } = surveyed;
  if (heldBackBy.length > 0) {
    add('held-back', { level, supports: FEATURE_LEVEL_MAX, nodes: heldBackBy.join(', ') });
  }
  return rows;
}

/** In the language of a terminal; of a code that this program does not know: as they came. */
export function toldFinding(
  language: Language,
  row: FindingRow,
): Pick<FindingRow, 'message' | 'todo'> {
  return isCode(row.code) ? sentencesOf(language, row.code, row.values) : row;
}

function sentencesOf(
  language: Language,
  code: Code,
  values: FindingRow['values'],
): Pick<FindingRow, 'message' | 'todo'> {
  const { message, todo } = SENTENCES[code];
  return {
    message: text(language, message, values),
    todo: todo === null ? '' : text(language, todo, values),
  };
}

function isCode(code: string): code is Code {
  return Object.hasOwn(SENTENCES, code);
}
