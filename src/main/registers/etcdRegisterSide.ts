/** Leases, claims and names of one node in the etcd cluster that keeps its control state. */

import type { ClientEvents } from '../../base/ports.ts';
import type { GaugeValues } from '../../io/observe/metrics.ts';
import { EtcdRegisters, type EtcdRegistersOptions } from '../../replica/etcd/registers.ts';
import type { RegisterBackend } from './registerBackend.ts';

export class EtcdRegisterSide implements RegisterBackend {
  readonly registers: EtcdRegisters;
  readonly #refusal: () => string | null;

  constructor(options: EtcdRegistersOptions) {
    this.registers = new EtcdRegisters(options);
    this.#refusal = options.refusal;
  }

  open(): Promise<void> {
    this.registers.start();
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return new Promise((resolve) => this.registers.stop(resolve));
  }

  /** Links between regions carry nothing of it. */
  linkChanged(): void {}

  handle(): ClientEvents | null {
    return null;
  }

  /** Each node hears of all of them. */
  keepers(): readonly string[] {
    return [];
  }

  /** Why calls are refused is told by the control state. */
  warnings(): readonly string[] {
    return [];
  }

  gauges(): GaugeValues {
    return [
      ['banyan_registers_ready', this.#refusal() === null ? 1 : 0],
      ['banyan_registers_leases_held', this.registers.leases.heldCount],
    ];
  }
}
