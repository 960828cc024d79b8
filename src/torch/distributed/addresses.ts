// By which address each process can be reached.

import { networkInterfaces } from 'node:os';
import { native } from '../native.js';

/** How a process is connected with rank 0, by IP addresses. */
export interface Route {
  /** Its own address on the network that leads to rank 0. */
  own: string;
  /** Rank 0's, as its host name is understood here; '' where processes meet by a file. */
  master: string;
}

/** @throws for an unknown host and where no network leads there */
export function routeTo(host: string, port: number): Route {
  const [own, master] = native.addressesTo(host, port);
  return { own, master };
}

/** This machine's first address on a network, where there is no other process's address to go by. */
export function firstRoute(): Route {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const found = addresses.find(({ family, internal }) => family === 'IPv4' && !internal);
  return { own: found?.address ?? '127.0.0.1', master: '' };
}

const isLoopback = (address: string): boolean => /^(127\.|::1$|::ffff:127\.)/.test(address);

/**
 * The address by which all processes reach this one. On rank 0's machine its host name may mean the machine itself, as
 * Debian's 127.0.1.1 does; then it is the address by which other machines know rank 0.
 *
 * @param routes of all processes, by rank
 */
export function reachableAddress(own: string, routes: readonly Route[]): string {
  if (!isLoopback(own)) return own;
  return routes.find((route) => !isLoopback(route.own))?.master || own;
}
