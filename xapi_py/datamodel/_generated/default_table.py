# ===========================================================================
#  GENERATED FILE: DO NOT EDIT.
#  Written from the YAML files of xapi_py/datamodel by
#      python -m xapi_py.datamodel.compile
# ===========================================================================
"""A fresh installation."""

from typing import Any

DEFAULTS: Any = {
    'pool': {'name_label': '', 'name_description': '', 'other_config': {'memory-ratio-hvm': '0.25', 'memory-ratio-pv': '0.25'}, 'ha_cluster_stack': 'xhad', 'ha_enabled': False, 'ha_host_failures_to_tolerate': 0},
    'pool_newest': {'coordinator_bias': True, 'update_sync_frequency': 'weekly', 'telemetry_frequency': 'weekly', 'local_auth_max_threads': 8, 'ext_auth_max_threads': 1, 'ext_auth_cache_size': 50, 'ext_auth_cache_expiry': 300, 'ha_reboot_vm_on_internal_shutdown': True},
    'host': {'name_description': 'Default install', 'API_version_vendor': 'XenSource', 'API_version_vendor_implementation': {}, 'sched_policy': 'credit', 'supported_bootloaders': ('pygrub', 'eliloader'), 'capabilities': ('xen-3.0-x86_64', 'xen-3.0-x86_32p', 'hvm-3.0-x86_32', 'hvm-3.0-x86_32p', 'hvm-3.0-x86_64'), 'logging': {}, 'license_server': {'address': 'localhost', 'port': '27000'}, 'edition': 'free/libre', 'power_on_mode': '', 'display': 'enabled', 'ssl_legacy': True, 'virtual_hardware_platform_versions': (0, 1, 2)},
    'host_newest': {'ssl_legacy': False},
    'control_domain': {'name_label_prefix': 'Control domain on host: ', 'values': {'is_control_domain': True, 'is_a_template': False, 'domid': 0, 'power_state': 'Running', 'actions_after_shutdown': 'destroy', 'actions_after_reboot': 'destroy', 'actions_after_crash': 'destroy', 'domarch': 'x64', 'user_version': 1, 'HVM_boot_policy': ''}},
    'consoles_of_control_domain': ({'protocol': 'rfb', 'port': 5900}, {'protocol': 'vt100', 'port': 9500}),
    'user': {'short_name': 'root', 'fullname': 'superuser'},
    'management_network': {'name_label': 'Host internal management network', 'name_description': 'Network on which guests will be assigned a private link-local IP address which can be used to talk XenAPI', 'bridge': 'xenapi', 'MTU': 1500, 'other_config': {'is_guest_installer_network': 'true', 'is_host_internal_management_network': 'true', 'ip_begin': '169.254.0.1', 'ip_end': '169.254.255.254', 'netmask': '255.255.0.0'}},
    'device_network': {'name_label_prefix': 'Pool-wide network associated with ', 'name_label_prefix_newest': 'Pool-wide network ', 'values': {'name_description': '', 'MTU': 1500, 'other_config': {}, 'default_locking_mode': 'unlocked'}},
    'PIF': {'VLAN': -1, 'physical': True, 'managed': True, 'MTU': 1500, 'ip_configuration_mode': 'None', 'ipv6_configuration_mode': 'None', 'primary_address_type': 'IPv4', 'properties': {'gro': 'on'}},
    'SRs': ({'key': 'local', 'values': {'name_label': 'Local storage', 'content_type': 'user', 'shared': False, 'other_config': {'i18n-key': 'local-storage', 'i18n-original-value-name_label': 'Local storage'}}}, {'key': 'removable', 'values': {'name_label': 'Removable storage', 'type': 'udev', 'content_type': 'disk', 'shared': False, 'sm_config': {'type': 'block'}, 'other_config': {'i18n-key': 'local-hotplug-disk', 'i18n-original-value-name_label': 'Removable storage'}}, 'device_config': {'location': '/dev/xapi/block'}}, {'key': 'dvd', 'values': {'name_label': 'DVD drives', 'name_description': 'Physical DVD drives', 'type': 'udev', 'content_type': 'iso', 'shared': False, 'sm_config': {'type': 'cd'}, 'other_config': {'i18n-key': 'local-hotplug-cd', 'i18n-original-value-name_label': 'DVD drives', 'i18n-original-value-name_description': 'Physical DVD drives'}}, 'device_config': {'location': '/dev/xapi/cd'}}, {'key': 'tools', 'name_label_suffix': ' Tools', 'name_description_suffix': ' Tools ISOs', 'values': {'type': 'iso', 'content_type': 'iso', 'shared': True, 'is_tools_sr': True, 'other_config': {'xensource_internal': 'true', 'xenserver_tools_sr': 'true', 'i18n-key': 'xenserver-tools'}}, 'device_config': {'path': '/opt/xensource/packages/iso', 'location': '/opt/xensource/packages/iso', 'legacy_mode': 'true'}}),
    'limits': {'completed_tasks': 200, 'sessions': 400, 'sessions_per_originator': 500, 'sessions_per_user_name': 500, 'messages': 10000},
    'body_bytes': {'rpc': 307200, 'cli': 204800, 'rrd': 2097152},
    'ports': {'http': 80, 'https': 443},
}
