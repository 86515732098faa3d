"""Many images, on one machine or on many: ``python -m res2net_runtime.batch``.

``sources`` says which images there are, and ``plan`` divides them into shards. ``work`` runs one shard, ``run_local`` in
processes of this machine and ``run_ray`` on a cluster. ``dispatch`` decides which shard is next, and ``store`` alone writes.
"""
