# ===========================================================================
#  GENERATED FILE: DO NOT EDIT.
#  Written from the YAML files of xapi_py/datamodel by
#      python -m xapi_py.datamodel.compile
# ===========================================================================
"""Releases in order."""

from typing import Any

RELEASES: Any = (
    {'code': 'rio', 'api': '1.1', 'branding': 'XenServer 4.0', 'date': 'August 2007'},
    {'code': 'miami', 'api': '1.2', 'branding': 'XenServer 4.1', 'date': 'March 2008', 'schema': '5.35'},
    {'code': 'symc', 'api': '1.2', 'branding': 'XenServer 4.1.1'},
    {'code': 'orlando', 'api': '1.3', 'branding': 'XenServer 5.0', 'date': 'September 2008', 'schema': '5.55'},
    {'code': 'orlando-update-1', 'api': '1.3', 'branding': 'XenServer 5.0 Update 1'},
    {'code': '', 'api': '1.4', 'branding': 'Unreleased'},
    {'code': '', 'api': '1.5', 'branding': 'XenServer 5.0 update 3', 'date': 'September 2008'},
    {'code': 'george', 'api': '1.6', 'branding': 'XenServer 5.5', 'date': 'June 2009', 'schema': '5.57'},
    {'code': 'midnight-ride', 'api': '1.7', 'branding': 'XenServer 5.6', 'date': 'May 2010', 'schema': '5.60'},
    {'code': 'cowley', 'api': '1.8', 'branding': 'XenServer 5.6 FP1', 'date': 'December 2010', 'schema': '5.61'},
    {'code': 'boston', 'api': '1.9', 'branding': 'XenServer 6.0', 'date': 'September 2011', 'schema': '5.63'},
    {'code': 'tampa', 'api': '1.10', 'branding': 'XenServer 6.1', 'date': 'September 2012', 'schema': '5.66'},
    {'code': 'clearwater', 'api': '2.0', 'branding': 'XenServer 6.2', 'date': 'June 2013', 'schema': '5.67'},
    {'code': 'vgpu-tech-preview', 'api': '2.0', 'branding': 'XenServer 6.2 SP1 Tech-Preview', 'schema': '5.68'},
    {'code': 'vgpu-productisation', 'api': '2.1', 'branding': 'XenServer 6.2 SP1', 'date': 'December 2013', 'schema': '5.69'},
    {'code': 'clearwater-felton', 'api': '2.2', 'branding': 'XenServer 6.2 SP1 Hotfix 4', 'date': 'April 2014', 'schema': '5.70'},
    {'code': 'clearwater-whetstone', 'api': '2.2', 'branding': 'XenServer 6.2 SP1 Hotfix 11', 'date': 'October 2014', 'schema': '5.71'},
    {'code': 'creedence', 'api': '2.3', 'branding': 'XenServer 6.5', 'date': 'January 2015', 'schema': '5.72'},
    {'code': 'cream', 'api': '2.4', 'branding': 'XenServer 6.5 SP1', 'date': 'May 2015', 'schema': '5.73'},
    {'code': 'indigo', 'api': '2.4', 'branding': 'XenServer 6.5 SP1 Hotfix 31', 'date': 'December 2015', 'schema': '5.74'},
    {'code': 'dundee', 'api': '2.5', 'branding': 'XenServer 7.0', 'date': 'May 2016', 'schema': '5.93'},
    {'code': 'ely', 'api': '2.6', 'branding': 'XenServer 7.1', 'date': 'February 2017', 'schema': '5.108'},
    {'code': 'falcon', 'api': '2.7', 'branding': 'XenServer 7.2', 'date': 'May 2017', 'schema': '5.120'},
    {'code': 'inverness', 'api': '2.8', 'branding': 'XenServer 7.3', 'date': 'December 2017', 'schema': '5.133'},
    {'code': 'jura', 'api': '2.9', 'branding': 'XenServer 7.4', 'date': 'February 2018', 'schema': '5.134'},
    {'code': 'kolkata', 'api': '2.10', 'branding': 'XenServer 7.5', 'date': 'May 2018', 'schema': '5.142'},
    {'code': 'lima', 'api': '2.11', 'branding': 'XenServer 7.6', 'date': 'September 2018', 'schema': '5.203'},
    {'code': 'naples', 'api': '2.12', 'branding': 'Citrix Hypervisor 8.0', 'date': 'March 2019', 'schema': '5.400'},
    {'code': 'oslo', 'api': '2.13', 'branding': 'Unreleased'},
    {'code': 'quebec', 'api': '2.14', 'branding': 'Citrix Hypervisor 8.1', 'date': 'December 2019', 'schema': '5.504'},
    {'code': 'stockholm', 'api': '2.15', 'branding': 'Citrix Hypervisor 8.2', 'date': 'June 2020', 'schema': '5.601'},
    {'code': 'stockholm_psr', 'api': '2.15', 'branding': 'Citrix Hypervisor 8.2 Hotfix 2', 'date': 'November 2020'},
    {'code': 'nile-preview', 'api': '2.20', 'branding': 'XenServer 8 Preview', 'date': 'August 2023'},
    {'code': 'nile', 'api': '2.21', 'branding': 'XenServer 8', 'schema': '5.775'},
    {'code': 'orinoco', 'api': '2.23', 'branding': 'XenServer 9'},
)
XENCENTER_PLATFORM_THRESHOLDS: Any = {
    'tampa': '1.5.50',
    'clearwater': '1.6.900',
    'creedence': '1.8.90',
    'dundee': '2.0.0',
    'ely': '2.1.1',
    'falcon': '2.2.50',
}
