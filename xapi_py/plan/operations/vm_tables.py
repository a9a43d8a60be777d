"""Tables behind the VM operation rules: power states, kinds and features."""

from xapi_py.datamodel import errors as err

# Enum order; the offered list is this order reversed.
ALL_OPERATIONS = (
    "snapshot",
    "clone",
    "copy",
    "create_template",
    "revert",
    "checkpoint",
    "snapshot_with_quiesce",
    "provision",
    "start",
    "start_on",
    "pause",
    "unpause",
    "clean_shutdown",
    "clean_reboot",
    "hard_shutdown",
    "power_state_reset",
    "hard_reboot",
    "suspend",
    "csvm",
    "resume",
    "resume_on",
    "pool_migrate",
    "migrate_send",
    "get_boot_record",
    "send_sysrq",
    "send_trigger",
    "query_services",
    "shutdown",
    "call_plugin",
    "changing_memory_live",
    "awaiting_memory_live",
    "changing_dynamic_range",
    "changing_static_range",
    "changing_memory_limits",
    "changing_shadow_memory",
    "changing_shadow_memory_live",
    "changing_VCPUs",
    "changing_VCPUs_live",
    "changing_NVRAM",
    "assert_operation_valid",
    "data_source_op",
    "update_allowed_operations",
    "make_into_template",
    "import",
    "export",
    "metadata_export",
    "reverting",
    "destroy",
    "create_vtpm",
    "sysprep",
)

# Never listed in allowed_operations, though valid to check and to perform.
UNLISTED = frozenset(
    {
        "create_template",
        "power_state_reset",
        "csvm",
        "get_boot_record",
        "send_sysrq",
        "send_trigger",
        "query_services",
        "shutdown",
        "call_plugin",
        "changing_memory_live",
        "awaiting_memory_live",
        "changing_memory_limits",
        "changing_shadow_memory_live",
        "changing_VCPUs",
        "assert_operation_valid",
        "data_source_op",
        "update_allowed_operations",
        "import",
        "reverting",
        "snapshot_with_quiesce",
    }
)

OP_TEXT = {
    "data_source_op": "data_sources_op",
    "assert_operation_valid": "assertoperationvalid",
    "changing_VCPUs": "(unknown operation)",
    "changing_memory_limits": "(unknown operation)",
    "query_services": "(unknown operation)",
    "create_template": "(unknown operation)",
}

_HALTED = ("Halted",)
_RUNNING = ("Running",)
_LIVE_ONLY = [
    "pause",
    "suspend",
    "clean_shutdown",
    "clean_reboot",
    "pool_migrate",
    "snapshot_with_quiesce",
    "send_sysrq",
    "send_trigger",
    "changing_VCPUs_live",
    "changing_memory_live",
    "awaiting_memory_live",
    "changing_shadow_memory_live",
    "data_source_op",
    "call_plugin",
    "sysprep",
]
_HALTED_ONLY = [
    "start",
    "start_on",
    "provision",
    "make_into_template",
    "changing_shadow_memory",
    "changing_NVRAM",
    "create_vtpm",
    "changing_VCPUs",
    "changing_static_range",
    "changing_memory_limits",
    "clone",
    "copy",
]
_ANY = [
    "snapshot",
    "metadata_export",
    "revert",
    "reverting",
    "power_state_reset",
    "update_allowed_operations",
    "assert_operation_valid",
    "query_services",
    "import",
]
ALL_STATES = ("Halted", "Paused", "Suspended", "Running")

POWER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_LIVE_ONLY, _RUNNING),
    **dict.fromkeys(_HALTED_ONLY, _HALTED),
    **dict.fromkeys(_ANY, ALL_STATES),
    **dict.fromkeys(("create_template", "destroy", "export"), ("Halted", "Suspended")),
    **dict.fromkeys(
        ("hard_shutdown", "shutdown", "checkpoint", "get_boot_record"),
        ("Paused", "Suspended", "Running"),
    ),
    **dict.fromkeys(("resume", "resume_on", "csvm"), ("Suspended",)),
    "unpause": ("Paused",),
    "changing_dynamic_range": ("Halted", "Running"),
    "hard_reboot": ("Paused", "Running"),
    "migrate_send": ("Halted", "Suspended", "Running"),
}
CONTROL_ALSO_RUNNING = frozenset(
    {"changing_VCPUs", "changing_static_range", "changing_memory_limits"}
)
CLONES = frozenset({"clone", "copy"})

TEMPLATE_OK = frozenset(
    [
        "changing_dynamic_range",
        "changing_static_range",
        "changing_memory_limits",
        "changing_shadow_memory",
        "changing_VCPUs",
        "changing_NVRAM",
        "clone",
        "copy",
        "export",
        "metadata_export",
        "provision",
    ]
)
OWN_TEMPLATE_OK = TEMPLATE_OK | {"destroy", "migrate_send"}
SNAPSHOT_OK = frozenset(
    ["revert", "clone", "copy", "export", "destroy", "hard_shutdown", "metadata_export"]
)
CONTROL_OK = frozenset(
    [
        "data_source_op",
        "changing_memory_live",
        "awaiting_memory_live",
        "metadata_export",
        "changing_dynamic_range",
        "changing_memory_limits",
        "changing_static_range",
        "start",
        "start_on",
        "changing_VCPUs",
        "destroy",
    ]
)
DOM0_REFUSED = frozenset({"changing_VCPUs", "destroy"})
MOVES = frozenset({"suspend", "checkpoint", "pool_migrate", "migrate_send"})
SUSPEND_LIKE = frozenset({"suspend", "checkpoint", "pool_migrate", "migrate_send"})
NEEDS_PERSISTENT_DISKS = frozenset({"checkpoint", "snapshot", "suspend", "snapshot_with_quiesce"})
HARD = frozenset({"hard_shutdown", "hard_reboot"})
ALWAYS = frozenset({"update_allowed_operations", "assert_operation_valid", "reverting"})

# During a rolling upgrade only these are performed.
UPGRADE_OK = frozenset(
    {
        "assert_operation_valid",
        "changing_memory_live",
        "changing_shadow_memory_live",
        "changing_VCPUs_live",
        "clean_reboot",
        "clean_shutdown",
        "clone",
        "copy",
        "csvm",
        "destroy",
        "export",
        "get_boot_record",
        "hard_reboot",
        "hard_shutdown",
        "import",
        "make_into_template",
        "migrate_send",
        "pause",
        "pool_migrate",
        "power_state_reset",
        "provision",
        "resume",
        "resume_on",
        "send_sysrq",
        "send_trigger",
        "start",
        "start_on",
        "suspend",
        "unpause",
        "update_allowed_operations",
    }
)

LACKS_FEATURE = {
    "clean_shutdown": err.VM_LACKS_FEATURE_SHUTDOWN,
    "clean_reboot": err.VM_LACKS_FEATURE_SHUTDOWN,
    "changing_VCPUs_live": err.VM_LACKS_FEATURE_VCPU_HOTPLUG,
    **dict.fromkeys(SUSPEND_LIKE, err.VM_LACKS_FEATURE_SUSPEND),
}
"""What a guest without such a feature answers; the newest profile has one error for all."""

FEATURES_FOR: dict[str, tuple[str, ...]] = {
    "clean_shutdown": ("feature-shutdown", "feature-poweroff"),
    "clean_reboot": ("feature-shutdown", "feature-reboot"),
    "changing_VCPUs_live": ("feature-vcpu-hotplug",),
    **dict.fromkeys(SUSPEND_LIKE, ("feature-suspend",)),
}
