/** Branded primitives: an id or a unit that the compiler does not let anyone swap for another. */

declare const brand: unique symbol;

/** `Base` that only the parser of `Name` makes. Erased at run time. */
export type Brand<Base, Name extends string> = Base & { readonly [brand]: Name };
