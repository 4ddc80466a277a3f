"""The log's formats in bytes: records that a backend stores, ids that a reader sends back, pages that a read returns.

codec       the stored record, the announcement, and the Last-Event-ID: the positions of several channels in one
            string; what is malformed in it
continuity  the result of a read, and `judge`: whether it continues a position, as of a Last-Event-ID, or leaves a gap
"""
