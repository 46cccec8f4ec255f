/* The assertions that `layouts` prints. WRONG_BY is what every expectation is wrong by: 0 in earnest, and not 0 to see that each of
 * them can fail. The identifiers of interfaces come out of the headers as enumerators, since only those are constants in C. */
#include <stddef.h>
#include <windows.h>
#include <ole2.h>
#include <ocidl.h>

#ifndef WRONG_BY
#define WRONG_BY 0
#endif

#undef DEFINE_GUID
#define DEFINE_GUID(name, l, w1, w2, b1, b2, b3, b4, b5, b6, b7, b8)                                                          \
    enum {                                                                                                                     \
        name##_l = l, name##_w1 = w1, name##_w2 = w2, name##_b1 = b1, name##_b2 = b2, name##_b3 = b3, name##_b4 = b4,          \
        name##_b5 = b5, name##_b6 = b6, name##_b7 = b7, name##_b8 = b8                                                         \
    }

#define CHECK(actual, expected, what) _Static_assert((actual) == (expected) + WRONG_BY, what)
#define CHECK_SIZE(type, bytes) CHECK(sizeof(type), bytes, "size of " #type);
#define CHECK_OFFSET(type, member, bytes) CHECK(offsetof(type, member), bytes, "offset of " #type "." #member);
#define CHECK_IID(name, l, w1, w2, b1, b2, b3, b4, b5, b6, b7, b8)                                                             \
    CHECK(0, !((UINT)name##_l == l && name##_w1 == w1 && name##_w2 == w2 && name##_b1 == b1 && name##_b2 == b2 &&              \
               name##_b3 == b3 && name##_b4 == b4 && name##_b5 == b5 && name##_b6 == b6 && name##_b7 == b7 &&                  \
               name##_b8 == b8), #name);
