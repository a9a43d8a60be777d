#define XC_WANT_COMPAT_MAP_FOREIGN_API 1
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <xenctrl.h>
#include <xenguest.h>
#include <xen/hvm/hvm_info_table.h>
#include <xen/hvm/params.h>

/* The version the headers are of: the interface numbers belong to exactly one. */
#if XEN_DOMCTL_INTERFACE_VERSION == 0x15
#define XEN_LIBRARY_MAJOR 4
#define XEN_LIBRARY_MINOR 17
#elif XEN_DOMCTL_INTERFACE_VERSION == 0x16
#define XEN_LIBRARY_MAJOR 4
#define XEN_LIBRARY_MINOR 18
#else
#define XEN_LIBRARY_MAJOR 0
#define XEN_LIBRARY_MINOR 0
#endif

/* The CPU features a guest sees: those given, or the default ones of its type. */
static int apply_cpu_policy(xc_interface *xc, uint32_t domain, const uint32_t *features,
                            unsigned count, bool nested)
{
    return xc_cpuid_apply_policy(xc, domain, false, features, count, true, false, nested,
                                 NULL, NULL);
}

/* What hvmloader is told about the processors, in a page of the guest. */
static int write_hvm_info(xc_interface *xc, uint32_t domain, bool apic, uint32_t vcpus,
                          const uint8_t *online, size_t online_size)
{
    char *page = xc_map_foreign_range(xc, domain, XC_PAGE_SIZE, PROT_READ | PROT_WRITE,
                                      HVM_INFO_PFN);
    if (!page)
        return -1;
    struct hvm_info_table *info = (void *)(page + HVM_INFO_OFFSET);
    info->apic_mode = apic;
    info->nr_vcpus = vcpus;
    memset(info->vcpu_online, 0, sizeof(info->vcpu_online));
    if (online_size > sizeof(info->vcpu_online))
        online_size = sizeof(info->vcpu_online);
    memcpy(info->vcpu_online, online, online_size);
    uint8_t sum = 0;
    for (uint32_t at = 0; at < info->length; at++)
        sum += ((uint8_t *)info)[at];
    info->checksum -= sum;
    return munmap(page, XC_PAGE_SIZE);
}
