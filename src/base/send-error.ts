/**
 * The errors that the kernel gives a sender, as the metric `gue_director_send_errors_total{errno}` names them. A fixed list, so that the
 * label is bounded: whatever is not in it counts as `other`.
 */
export const SEND_ERRORS = [
  'EMSGSIZE',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'ENETDOWN',
  'EPERM',
  'EACCES',
  'EAGAIN',
  'ENOBUFS',
  'ENOMEM',
  'EINVAL',
  'EIO',
  'EAFNOSUPPORT',
  'other',
] as const;

export type SendErrorName = (typeof SEND_ERRORS)[number];

/** Place of what no other name fits. */
export const OTHER_SEND_ERROR = SEND_ERRORS.length - 1;
