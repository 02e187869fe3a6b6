/** What `banyan region` says, and the columns of `get regions` that come with it. */

export const REGION_MESSAGES = {
  'region.about': { en: 'say what is wanted of a region', zh: '声明对某区域的期望' },
  'region.set': {
    en: 'set what is given; the rest stays as it is',
    zh: '设置所给的各项，其余保持不变',
  },
  'region.name': { en: 'the region', zh: '区域' },
  'region.desired': {
    en: 'drained: other regions get its work; active: it takes work again',
    zh: 'drained：其工作交给其他区域；active：重新接收工作',
  },
  'region.weight': {
    en: 'how gladly others send to it: its cost counts 100/weight times (1 to 1000)',
    zh: '其他区域向它转发的意愿：其代价乘以 100/权重（1 至 1000）',
  },
  'region.residency': {
    en: 'label of where its data may be; none: take the label away',
    zh: '数据驻留标签；none 表示去除标签',
  },
  'region.force': {
    en: 'drain it though another region is drained or silent',
    zh: '即使另有区域已排空或无应答也排空',
  },
  'region.done': {
    en: '{region}: {desired}, weight {weight}, residency {residency}.',
    zh: '{region}：{desired}，权重 {weight}，驻留 {residency}。',
  },
  'head.desired': { en: 'DESIRED', zh: '期望' },
  'head.residency': { en: 'RESIDENCY', zh: '驻留' },
} as const;
