"""The messages of a build by gateway, for the protobuf library (reference §8.8); what is not looked into is bytes."""

from __future__ import annotations

from graph.peer import declared

CLASSES = declared(
    {
        "SolveRequest": "Ref string 1,Session string 5,Frontend string 6,Internal bool 11",
        "SolveResponse": "ExporterResponse string<string> 1",
        "BytesMessage": "data bytes 1",
        "FrontendRequest": "Frontend string 2,FrontendOpt string<string> 3,allowResultReturn bool 5,"
        "allowResultArrayRef bool 6",
        "FrontendResponse": "ref string 1,result Result 3",
        "Ref": "id string 1,def bytes 2",
        "RefMap": "refs Ref<string> 1",
        "Result": "ref Ref 3,refs RefMap 4,metadata bytes<string> 10",
        "ReturnRequest": "result Result 1",
        "Empty": "",
        "Packet": "type int32 1,stat Stat 2,ID uint32 3,data bytes 4",
        "Stat": "path string 1,mode uint32 2,uid uint32 3,gid uint32 4,size int64 5,modTime int64 6",
        "HealthRequest": "service string 1",
        "HealthResponse": "status int32 1",
        "Status": "code int32 1,message string 2,details Any* 3",
        "Any": "type_url string 1,value bytes 2",
    },
    {},
    "gateway",
)
