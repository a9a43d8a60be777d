/* Functions of libxenguest: loading a guest, its CPU policy, going on after a suspend. */
struct xc_hvm_firmware_module { uint8_t *data; uint32_t length; uint64_t guest_addr_out; ...; };
struct e820entry { uint64_t addr; uint64_t size; uint32_t type; ...; };
struct xc_dom_image {
    unsigned long flags;
    unsigned console_evtchn;
    unsigned xenstore_evtchn;
    uint32_t console_domid;
    uint32_t xenstore_domid;
    xen_pfn_t console_pfn;
    xen_pfn_t xenstore_pfn;
    xen_pfn_t target_pages;
    uint64_t mmio_start;
    uint64_t mmio_size;
    uint64_t lowmem_end;
    uint64_t highmem_end;
    unsigned max_vcpus;
    bool device_model;
    int container_type;
    int claim_enabled;
    struct xc_hvm_firmware_module system_firmware_module;
    struct xc_hvm_firmware_module acpi_modules[4];
    struct e820entry *e820;
    unsigned e820_entries;
    ...;
};
#define XC_DOM_PV_CONTAINER ...
#define XC_DOM_HVM_CONTAINER ...
#define X86_HVM_NR_SPECIAL_PAGES ...
#define X86_HVM_END_SPECIAL_REGION ...
#define HVM_INFO_PFN ...
#define HVM_INFO_OFFSET ...

int xc_dom_loginit(xc_interface *);
struct xc_dom_image *xc_dom_allocate(xc_interface *, const char *, const char *);
void xc_dom_release(struct xc_dom_image *);
int xc_dom_kernel_file(struct xc_dom_image *, const char *);
int xc_dom_module_file(struct xc_dom_image *, const char *, const char *);
int xc_dom_boot_xen_init(struct xc_dom_image *, xc_interface *, uint32_t);
int xc_dom_parse_image(struct xc_dom_image *);
int xc_dom_mem_init(struct xc_dom_image *, unsigned);
int xc_dom_boot_mem_init(struct xc_dom_image *);
int xc_dom_build_image(struct xc_dom_image *);
int xc_dom_boot_image(struct xc_dom_image *);
int xc_dom_gnttab_init(struct xc_dom_image *);
void *xc_dom_malloc(struct xc_dom_image *, size_t);
xen_pfn_t xc_dom_p2m(struct xc_dom_image *, xen_pfn_t);
int xc_domain_set_memory_map(xc_interface *, uint32_t, struct e820entry *, uint32_t);
int xc_domain_resume(xc_interface *, uint32_t, int);
int xc_get_cpu_featureset(xc_interface *, uint32_t, uint32_t *, uint32_t *);
int apply_cpu_policy(xc_interface *, uint32_t, const uint32_t *, unsigned, bool);
int write_hvm_info(xc_interface *, uint32_t, bool, uint32_t, const uint8_t *, size_t);
