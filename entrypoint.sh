#!/bin/bash -p
# Starts the deployer. bash keeps variables with a dash in their name, such as INPUT_ROOT-DIR, which sh drops;
# -p keeps it from obeying BASH_ENV and functions of the environment, and -I Python from PYTHONPATH and others.
# The workspace is entered where that is said, so that nothing lies about in the folder that is current here.
PATH=/opt/flyte-deploy/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
exec /opt/flyte-deploy/bin/python -I -m flyte_deploy.action "$@"
