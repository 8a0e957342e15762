SELECT position FROM head
