# Sourced by the scripts that start processes: one thread for each.
export OMP_NUM_THREADS=1
# Open MPI refuses root, as in a container, and more processes than cores, unless told otherwise.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
