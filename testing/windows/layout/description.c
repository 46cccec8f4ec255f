/* Against the header that is made of our own description of the interfaces, from which the proxies and stubs come. It has no constants
 * but those that the wire depends on. */
#include "checks.h"

#include "vss_p.h"

#define CHECK_VALUE(name, value)

#include "numbers.inc"
