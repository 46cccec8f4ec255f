/* Against the headers of mingw. */
#include "checks.h"

#include <vss.h>
#include <vsadmin.h>
#include <vdslun.h>
#include <vsprov.h>

#define CHECK_VALUE(name, value) CHECK((UINT)(name), value, #name);

#include "numbers.inc"
