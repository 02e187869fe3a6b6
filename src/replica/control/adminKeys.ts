/** Keys of operators in the control state: `admin-keys/NAME` (keyStore.ts). */

import { ROLES, type Role } from '../../base/adminRoles.ts';
import type { KeyKind } from './keyStore.ts';

export const ADMIN_KEYS: KeyKind<{ readonly role: Role }> = {
  prefix: 'admin-keys/',
  type: 'admin-key/1',
  read: ({ role }) => {
    const known = ROLES.find((each) => each === role);
    return known === undefined ? null : { role: known };
  },
};
