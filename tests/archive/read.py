"""Reads a file of the archive with pyarrow and prints what it finds as JSON: nothing of Switchboard is in it."""

import json
import sys

import pyarrow.parquet as parquet

file = parquet.ParquetFile(sys.argv[1])
schema = file.schema
columns = []
for index in range(len(schema)):
    column = schema.column(index)
    columns.append([column.name, column.physical_type, column.logical_type.type, column.max_definition_level])
table = file.read()
rows = []
for row in table.to_pylist():
    message_id = row["message_id"]
    row["message_id"] = getattr(message_id, "hex", message_id)
    if callable(row["message_id"]):
        row["message_id"] = row["message_id"]()
    row["sent_at"] = int(row["sent_at"].timestamp() * 1000 + 0.5)
    row["received_at"] = int(row["received_at"].timestamp() * 1000 + 0.5)
    row["raw"] = None if row["raw"] is None else row["raw"].hex()
    rows.append(row)
metadata = file.metadata
group = metadata.row_group(0)
print(
    json.dumps(
        {
            "columns": columns,
            "rows": rows,
            "metadata": {key.decode(): value.decode() for key, value in (metadata.metadata or {}).items()},
            "sorted": [[sorting.column_index, sorting.descending] for sorting in group.sorting_columns],
            "statistics": [group.column(0).statistics.min, group.column(0).statistics.max],
            "indexed": [group.column(0).has_column_index, group.column(0).has_offset_index],
        }
    )
)
