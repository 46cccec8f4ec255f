/* Keeps interfaces known to Wine's RPC runtime for as long as a process runs.
 *
 * When the last object goes that a process has marshalled with an interface, Wine has its RPC runtime forget the interface, and wait for the calls of it
 * that are under way (RpcServerUnregisterIf). Whether there are any is looked at under a lock, but the end of a call is counted without one: if the last
 * call ends just then, nobody tells, and the wait never ends, with a lock held that all of COM in the process needs. A client that lets go of an object
 * as soon as it has its answer may meet that, as CoCreateInstance does with the class object. Seen in Wine 8.0.
 *
 * So whatever process marshals a class object or something of VSS's marshals another object with all of these interfaces first, and never lets go of it.
 * Nobody else gets to know that object. To be asked in time, this library stands in the registry in the place of the one that has the proxies and stubs
 * of class objects, and passes on what that one answers. */
#define INITGUID
#include <objbase.h>
#include <rpcproxy.h>

#include "vss_p.h"

/* Those of class objects are asked for under this id, and found under that. The ids are text in the registry. */
DEFINE_GUID(CLSID_for_class_objects, 0x1f0d5d83, 0x7c54, 0x4d39, 0x8e, 0x2a, 0x3b, 0x64, 0x0c, 0x95, 0x77, 0xe1);
DEFINE_GUID(CLSID_of_ole, 0x00000320, 0x0000, 0x0000, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x46);
#define TEXT_FOR_CLASS_OBJECTS L"{1F0D5D83-7C54-4D39-8E2A-3B640C9577E1}"
#define TEXT_OF_CLASS_OBJECTS L"{00000001-0000-0000-C000-000000000046}"

STDAPI DllRegisterServer(void);

static const IID *const interfaces[] = {
    &IID_IClassFactory,
    &IID_IVssEnumObject,
    &IID_IVssAsync,
    &IID_IVssAdmin,
    &IID_IVssProviderCreateSnapshotSet,
    &IID_IVssProviderNotifications,
    &IID_IVssHardwareSnapshotProvider,
    &IID_IVssHardwareSnapshotProviderEx,
};

#define INTERFACE_COUNT (sizeof(interfaces) / sizeof(interfaces[0]))

static HRESULT STDMETHODCALLTYPE query(IUnknown *this, REFIID iid, void **object)
{
    BOOL known = IsEqualIID(iid, &IID_IUnknown);
    for (size_t i = 0; i < INTERFACE_COUNT; i++) {
        known = known || IsEqualIID(iid, interfaces[i]);
    }
    *object = known ? this : NULL;
    return known ? S_OK : E_NOINTERFACE;
}

/* It is never gone, so nobody is counted. */
static ULONG STDMETHODCALLTYPE count(IUnknown *this)
{
    (void)this;
    return 1;
}

static IUnknownVtbl methods = { query, count, count };
static IUnknown kept = { &methods };

static HRESULT keep_all(void)
{
    IStream *stream = NULL;
    HRESULT result = CreateStreamOnHGlobal(NULL, TRUE, &stream);
    if (FAILED(result)) {
        return result;
    }
    for (size_t i = 0; i < INTERFACE_COUNT && SUCCEEDED(result); i++) {
        result = CoMarshalInterface(stream, interfaces[i], &kept, MSHCTX_LOCAL, NULL, MSHLFLAGS_TABLESTRONG);
    }
    /* What would be needed to unmarshal them is not. */
    stream->lpVtbl->Release(stream);
    return result;
}

/* Exported as DllGetClassObject, in the place of what dlldata.c has. COM asks before it makes the first proxy or stub. */
STDAPI get_class_object(REFCLSID class, REFIID iid, void **object)
{
    static LONG is_asked;
    /* To marshal, COM asks again. Other threads that ask meanwhile do not wait, so a moment at the beginning of a process stays. */
    HRESULT result = InterlockedExchange(&is_asked, TRUE) ? S_OK : keep_all();
    if (FAILED(result)) {
        *object = NULL;
        return result;
    }
    if (IsEqualCLSID(class, &CLSID_for_class_objects)) {
        return CoGetClassObject(&CLSID_of_ole, CLSCTX_INPROC_SERVER, NULL, iid, object);
    }
    return DllGetClassObject(class, iid, object);
}

static HRESULT set(const WCHAR *key, const WCHAR *name, const WCHAR *value)
{
    DWORD bytes = (lstrlenW(value) + 1) * sizeof(WCHAR);
    return HRESULT_FROM_WIN32(RegSetKeyValueW(HKEY_CLASSES_ROOT, key, name, REG_SZ, value, bytes));
}

/* Exported as DllRegisterServer. */
STDAPI register_server(void)
{
    const WCHAR *server = L"CLSID\\" TEXT_FOR_CLASS_OBJECTS L"\\InprocServer32";
    HRESULT result = DllRegisterServer();
    if (SUCCEEDED(result)) {
        result = set(server, NULL, L"vss_ps.dll");
    }
    if (SUCCEEDED(result)) {
        result = set(server, L"ThreadingModel", L"Both");
    }
    if (SUCCEEDED(result)) {
        result = set(L"Interface\\" TEXT_OF_CLASS_OBJECTS L"\\ProxyStubClsid32", NULL, TEXT_FOR_CLASS_OBJECTS);
    }
    return result;
}
